"""Slow clients get all they came for, and hold nobody up."""

from __future__ import annotations

from contextlib import ExitStack

from tests.endurance.client import Client
from tests.endurance.content import Content, digest_of
from tests.endurance.layers import RELAYED, REPOSITORY, Way, layer_request, pushed_image
from tests.endurance.raw import RawConnection, chunked
from tests.endurance.server import Server


def test_slow_clients_hold_nobody_up_and_are_served_to_their_end(server: Server, client: Client) -> None:
    """Sixty are in the middle of a layer, more than the server has threads, while others push and pull."""
    contents = [Content(seed=number, size=RELAYED) for number in range(60)]
    with ExitStack() as stack:
        slow = [_half_sent(stack, server, client, content) for content in contents]
        manifest = pushed_image(client, "meanwhile", tag="meanwhile")
        client.check_image(REPOSITORY, "meanwhile", manifest)
        for connection, content in zip(slow, contents, strict=True):
            connection.send(chunked(content.blocks(content.size // 2)))
            answer = connection.answer().expect(202)
            client.finish(REPOSITORY, answer.location, content.digest()).expect(201)
            assert client.hash_blob(REPOSITORY, content.digest()) == (content.digest(), content.size)


def _half_sent(stack: ExitStack, server: Server, client: Client, content: Content) -> RawConnection:
    connection = stack.enter_context(RawConnection(server.address))
    headers = {**client.authorization(REPOSITORY), "Transfer-Encoding": "chunked"}
    connection.send_head("PATCH", client.begin(REPOSITORY), headers)
    connection.send(chunked(content.blocks(0, content.size // 2), ended=False))
    return connection


def test_a_layer_that_comes_byte_by_byte_is_stored(server: Server, client: Client) -> None:
    content, location = Content(seed=8, size=3_000), client.begin(REPOSITORY)
    for framed in (Way("PUT", known=True, relayed=False), Way("PUT", known=False, relayed=True)):
        request = layer_request(client, framed, location, content)
        with RawConnection(server.address) as connection:
            request.send_part(connection, 0)
            for position in range(len(request.body)):
                connection.send(request.body[position : position + 1])
            connection.answer().expect(201)
        location = client.begin(REPOSITORY)
    assert client.hash_blob(REPOSITORY, content.digest()) == (content.digest(), content.size)


def test_slow_readers_hold_nobody_up_and_get_all(server: Server, client: Client) -> None:
    content = Content(seed=9, size=3 * RELAYED)
    client.finish(REPOSITORY, client.begin(REPOSITORY), content.digest(), content.blocks(), content.size).expect(201)
    with ExitStack() as stack:
        readers = [stack.enter_context(RawConnection(server.address, receive_buffer=4_096)) for _ in range(40)]
        for reader in readers:
            link = client.request("GET", REPOSITORY, f"blobs/{content.digest()}").expect(307).location
            reader.send_head("GET", link, {})
        manifest = pushed_image(client, "meanwhile", tag="meanwhile")
        client.check_image(REPOSITORY, "meanwhile", manifest)
        for reader in readers[:3]:
            assert digest_of(reader.answer().expect(200).body) == content.digest()
