"""Taking data in that is no JSONL yet, or that is made of what is there.

packed      gzip, zstd and zip: recognised, unpacked within bounds
arriving    the packed file of a row gives way to what is in it
csv_files   CSV and TSV: encoding, dialect and header found out, row by row
json_list   a JSON document that is one list of objects, object by object
tables      what has columns (CSV, Parquet, JSON list, odd JSONL): recognised, checked, read row by row
mapping     which columns become which part of a row; guesses by names
making      the worker's part: rows are mapped, merged, sampled or brought, with progress on a row of its own
combine     several datasets become one, or one gives a sample
hub_files   files of a dataset repository on the hub
"""
