"""One Prefect task for each stage: unpack, call the library, return its record. No algorithm here."""
