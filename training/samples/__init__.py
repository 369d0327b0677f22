"""Small tasks written for Hone, and a program that scores answers; see README.md here."""
