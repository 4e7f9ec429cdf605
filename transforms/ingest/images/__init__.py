"""Encoded images: fetched from files, archives, tables and the web, and checked before they are decoded."""
