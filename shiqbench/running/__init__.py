"""One cell carried out: trained, evaluated, recorded."""
