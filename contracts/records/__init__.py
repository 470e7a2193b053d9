"""Records: the pydantic models of JSON artifacts, one file per subject; extra keys are forbidden."""
