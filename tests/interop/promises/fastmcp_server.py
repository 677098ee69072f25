"""PyPI `fastmcp` at http://127.0.0.1:PORT/mcp, as its documentation has it. argv[1] is the port."""

import sys

from fastmcp import FastMCP

server = FastMCP("interop")


@server.tool
def echo(message: str) -> str:
    return f"Echo: {message}"


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
