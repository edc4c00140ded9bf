<?php
// `$headers` has lower-case names; `$body` is file_get_contents('php://input').
function verify(array $headers, string $body): array
{
    $key = base64_decode(substr(getenv('WEBHOOK_PUBLIC_KEY'), strlen('whpk_')));
    $id = $headers['webhook-id'];
    $timestamp = $headers['webhook-timestamp'];
    if (abs(time() - (int) $timestamp) > 300) {
        throw new Exception('the timestamp is not of these minutes');
    }
    // While the key is being changed there are two signatures.
    foreach (explode(' ', $headers['webhook-signature']) as $given) {
        [$version, $value] = explode(',', "$given,");
        $signature = base64_decode($value);
        if ($version === 'v1a' && strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES
            && sodium_crypto_sign_verify_detached($signature, "$id.$timestamp.$body", $key)) {
            return json_decode($body, true);
        }
    }
    throw new Exception('the signature is not right');
}
