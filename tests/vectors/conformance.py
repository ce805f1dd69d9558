"""The digest of 4,096 sessions that freezes the wire; README.md says what they are made of."""
import concurrent.futures
import hashlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "interop" / "python"))
import countersign as cs

BLOCKS, SESSIONS = 16, 256


def pseudo_random(session, name, length):
    pieces = (hashlib.sha256(f"countersign conformance 1/{session}/{name}/{j}".encode()).digest() for j in range(-(-length // 32)))
    return b"".join(pieces)[:length]


def sha256(parts): return hashlib.sha256(b"".join(parts)).digest()


def session(n):
    """The digest of session n."""
    def r(name, length): return pseudo_random(n, name, length)

    def draws(name):
        pool = iter(r(name, 256)[i:i + 32] for i in range(0, 256, 32))
        return lambda length: next(pool)

    o = r("options", 16)
    suite = 1 + n % 4
    context, service = r("context", o[3] % 33), r("service", o[4] % 17).hex().encode()
    seeds = {side: r(side + " seed", 32) for side in ("initiator", "responder")}
    trusted = {side: [cs.ed25519_public(seed)] for side, seed in seeds.items()}

    def padding(length): return -length % 256 if o[2] % 2 else 0

    common = {"context": context, "network_key": r("network key", 32) if o[1] % 2 else None}
    i = cs.Initiator(seeds["initiator"], draws("initiator"), service=service, suites=(1, 2, 3, 4) if o[0] % 2 else (suite,),
                     trusted=trusted["responder"], auth_padding=padding(132 + len(service)), **common)
    r_ = cs.Responder(seeds["responder"], draws("responder"), suites=(suite,), trusted=trusted["initiator"], auth_padding=padding(131), **common)
    wire = []

    def deliver(sender, receiver):
        frames, sender.out[:] = list(sender.out), []
        wire.extend(frames)
        receiver.feed(b"".join(frames))

    i.start()
    for _ in range(2):
        deliver(i, r_)
        deliver(r_, i)
    assert i.established and r_.established and len(wire) == 5
    sides = ((i, r_, "initiator", (5, 7)), (r_, i, "responder", (6, 8)))
    for step in ("data 1", "rekey", "data 2", "end"):
        for sender, receiver, name, lengths in sides:
            if step == "rekey":
                sender.rekey()
            elif step == "end":
                sender.send(cs.REC_END)
            else:
                length = 1 + 2 * o[lengths[0]] if step == "data 1" else 1 + o[lengths[1]]
                sender.send(cs.REC_DATA, r(f"{name} {step}", length))
            deliver(sender, receiver)
    assert i.finished() and r_.finished() and len(wire) == 13
    exported = [side.export(b"conformance", r("context", 7), 48) for side in (i, r_)]
    assert exported[0] == exported[1] and i.session_id == r_.session_id and i.channel_binding == r_.channel_binding
    return sha256([*wire, i.session_id, i.channel_binding, exported[0]])


def block(number): return sha256(session(n) for n in range(number * SESSIONS, (number + 1) * SESSIONS))


def digests():
    """{ blocks, digest }"""
    with concurrent.futures.ProcessPoolExecutor() as pool:
        blocks = list(pool.map(block, range(BLOCKS)))
    return {"blocks": blocks, "digest": sha256(blocks)}
