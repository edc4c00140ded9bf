<?php
// `$headers` has lower-case names; `$body` is file_get_contents('php://input').
function verify(array $headers, string $body): array
{
    $key = base64_decode(substr(getenv('WEBHOOK_SECRET'), strlen('whsec_')));
    if ($key === '') {
        throw new Exception('WEBHOOK_SECRET is no secret');
    }
    $id = $headers['webhook-id'];
    $timestamp = $headers['webhook-timestamp'];
    if (abs(time() - (int) $timestamp) > 300) {
        throw new Exception('the timestamp is not of these minutes');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // While the secret is being changed there are two signatures.
    foreach (explode(' ', $headers['webhook-signature']) as $given) {
        if (hash_equals($expected, $given)) {
            return json_decode($body, true);
        }
    }
    throw new Exception('the signature is not right');
}
