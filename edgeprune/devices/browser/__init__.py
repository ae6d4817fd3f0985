"""Browser: a page on a phone measures; here is the server that it talks to.

`broker` passes jobs from runs to the page and answers back, `server` speaks HTTP for
it, `serving` starts that, `runtime_files` finds the files of ONNX Runtime Web, and
`page/` is what the phone loads.
"""
