import { createPublicKey, verify as isSignature } from 'node:crypto';

const raw = Buffer.from(process.env.WEBHOOK_PUBLIC_KEY.slice('whpk_'.length), 'base64');
const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });

// `body` is the request's body to the byte, before anything has parsed it.
export function verify(headers, body) {
  const id = headers['webhook-id'];
  const timestamp = headers['webhook-timestamp'];
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!(age <= 300)) throw new Error('the timestamp is not of these minutes');
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body)]);
  // While the key is being changed there are two signatures.
  const isRight = (headers['webhook-signature'] ?? '').split(' ').some((signature) => {
    const [version, value] = signature.split(',');
    return version === 'v1a' && isSignature(null, signed, key, Buffer.from(value ?? '', 'base64'));
  });
  if (!isRight) throw new Error('the signature is not right');
  return JSON.parse(body);
}
