"""Networks, one a file: torch modules that know no files and no devices."""
