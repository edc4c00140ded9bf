import base64, json, os, time
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

raw = base64.b64decode(os.environ['WEBHOOK_PUBLIC_KEY'].removeprefix('whpk_'))
key = Ed25519PublicKey.from_public_bytes(raw)

# `body` is the request's body to the byte, before anything has parsed it.
def verify(headers, body):
    message_id, timestamp = headers['webhook-id'], headers['webhook-timestamp']
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError('the timestamp is not of these minutes')
    signed = f'{message_id}.{timestamp}.'.encode() + body
    # While the key is being changed there are two signatures.
    for given in headers['webhook-signature'].split(' '):
        version, _, value = given.partition(',')
        if version != 'v1a':
            continue
        try:
            key.verify(base64.b64decode(value), signed)
            return json.loads(body)
        except InvalidSignature:
            continue
    raise ValueError('the signature is not right')
