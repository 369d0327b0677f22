"""What repeats in a dataset and what of it stands in another: pure functions over JSONL files, flat in memory.

words.py        what a row says: the hash of its meaning, of its prompt, the words that are compared
sketch.py       one pass over a file: 192 bytes a row on disk, a MinHash signature among them
candidates.py   rows whose signatures share a band (LSH), a band at a time
alike.py        the true similarity of two rows of candidates
within.py       groups of the same rows, of nearly the same rows, of one prompt with several answers
leaks.py        rows of one file that stand in another
asked.py        rows whose prompt is one of a set of prompts
found.py        what came out, as files: lines of JSON to read, an array to remove rows by

work.py and removing.py make work on files of them (training/file_tasks.py) and versions without the rows.
"""
