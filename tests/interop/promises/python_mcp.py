"""PyPI `mcp` 1.x does the whole dance against the guard at argv[1].

argv[2] is the program that plays the browser (`open_browser.mjs --print URL` prints where
the guard sends it), argv[3] the tool call as JSON, argv[4] the transport. Prints one line `ok STEP` for each step
that went well; the first that does not ends the program with a traceback.
"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

REDIRECT_URI = "http://localhost:9/callback"
TIMEOUT = httpx.Timeout(30, read=120)


class Memory:
    """The client's token storage."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Person:
    """Takes each authorization URL to the browser and remembers where it led."""

    def __init__(self, browser):
        self.browser = browser
        self.visits = 0
        self.answer = None

    async def sign_in(self, url):
        self.visits += 1
        program = await asyncio.create_subprocess_exec(
            self.browser, "--print", url, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await program.communicate()
        assert program.returncode == 0, "the browser failed"
        self.answer = parse_qs(urlsplit(printed.decode().strip()).query)

    async def callback(self):
        return self.answer["code"][0], self.answer["state"][0]


@asynccontextmanager
async def connected(url, auth, transport):
    if transport == "sse":
        async with sse_client(url, auth=auth, timeout=30) as streams:
            yield streams
        return
    async with (
        httpx.AsyncClient(auth=auth, timeout=TIMEOUT) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
    ):
        yield read, write


async def dance(url, browser, call, transport):
    person, memory = Person(browser), Memory()
    metadata = OAuthClientMetadata(client_name="Interop (Python)", redirect_uris=[REDIRECT_URI])
    auth = OAuthClientProvider(url, metadata, memory, person.sign_in, person.callback)
    async with (
        connected(url, auth, transport) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        assert person.visits == 1
        print("ok signs in and initializes", flush=True)

        tools = await session.list_tools()
        assert call["name"] in [tool.name for tool in tools.tools]
        print("ok lists its tools", flush=True)

        assert not (await session.call_tool(call["name"], call["arguments"])).isError
        print("ok calls a tool", flush=True)

        before = memory.tokens
        auth.context.token_expiry_time = 1
        assert not (await session.call_tool(call["name"], call["arguments"])).isError
        assert memory.tokens.access_token != before.access_token
        assert memory.tokens.refresh_token != before.refresh_token
        assert person.visits == 1
        print("ok refreshes and calls again", flush=True)


if __name__ == "__main__":
    asyncio.run(dance(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]))
