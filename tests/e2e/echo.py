"""usage: echo.py PORT NAME: says NAME, then sends back what comes."""
import asyncio
import socket
import sys


async def serve(reader, writer):
    try:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(sys.argv[2].encode() + b"\n")
        while data := await reader.read(64 << 10):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
