import base64, hashlib, hmac, json, os, time

key = base64.b64decode(os.environ['WEBHOOK_SECRET'].removeprefix('whsec_'))
if not key:
    raise ValueError('WEBHOOK_SECRET is no secret')

# `body` is the request's body to the byte, before anything has parsed it.
def verify(headers, body):
    message_id, timestamp = headers['webhook-id'], headers['webhook-timestamp']
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError('the timestamp is not of these minutes')
    signed = f'{message_id}.{timestamp}.'.encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # While the secret is being changed there are two signatures.
    given = headers['webhook-signature'].encode().split(b' ')
    if not any(hmac.compare_digest(b'v1,' + signature, one) for one in given):
        raise ValueError('the signature is not right')
    return json.loads(body)
