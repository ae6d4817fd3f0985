"""Export: what file does the device get, and is it the same function?"""
