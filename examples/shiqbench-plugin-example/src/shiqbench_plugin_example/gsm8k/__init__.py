"""GSM8K's recorded solutions as offline data with a verifiable reward."""
