"""Region features that people hold already, read without running what they hold, and written so that existing code reads ours."""
