# By hand: the request's headers in ID, TIMESTAMP and SIGNATURE,
# its body to the byte in the file BODY.
case $TIMESTAMP in '' | *[!0-9]*) echo 'the timestamp is no number'; exit 1 ;; esac
age=$(($(date +%s) - TIMESTAMP))
if [ "${age#-}" -gt 300 ]; then echo 'the timestamp is not of these minutes'; exit 1; fi
key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
if [ -z "$key" ]; then echo 'WEBHOOK_SECRET is no secret'; exit 1; fi
expected=v1,$({ printf %s "$ID.$TIMESTAMP."; cat "$BODY"; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
case " $SIGNATURE " in
  *" $expected "*) echo 'the signature is right' ;;
  *) echo 'the signature is not right'; exit 1 ;;
esac
