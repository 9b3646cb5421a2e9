"""A report as one HTML file that needs no network: tables, figures, and the records behind each number."""
