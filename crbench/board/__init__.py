"""Records to tables: rows, notes, significance, and the forms in which they are written."""
