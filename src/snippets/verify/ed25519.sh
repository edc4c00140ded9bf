# By hand: the request's headers in ID, TIMESTAMP and SIGNATURE,
# its body to the byte in the file BODY.
case $TIMESTAMP in '' | *[!0-9]*) echo 'the timestamp is no number'; exit 1 ;; esac
age=$(($(date +%s) - TIMESTAMP))
if [ "${age#-}" -gt 300 ]; then echo 'the timestamp is not of these minutes'; exit 1; fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
{ printf '0*0\005\006\003+ep\003!\000'
  printf %s "${WEBHOOK_PUBLIC_KEY#whpk_}" | openssl base64 -d -A; } > "$work/key"
{ printf %s "$ID.$TIMESTAMP."; cat "$BODY"; } > "$work/signed"
for given in $SIGNATURE; do
  case $given in v1a,*) printf %s "${given#v1a,}" | openssl base64 -d -A > "$work/signature" ;; *) continue ;; esac
  if openssl pkeyutl -verify -pubin -inkey "$work/key" -keyform DER -rawin -in "$work/signed" \
    -sigfile "$work/signature" > "$work/log" 2>&1; then echo 'the signature is right'; exit 0; fi
done
echo 'the signature is not right'
exit 1
