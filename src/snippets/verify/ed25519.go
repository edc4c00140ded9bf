package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Verify takes the request's body to the byte, before anything has parsed it.
func Verify(header http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_PUBLIC_KEY"), "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("WEBHOOK_PUBLIC_KEY is no public key")
	}
	timestamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("the timestamp is not of these minutes")
	}
	signed := append([]byte(header.Get("webhook-id")+"."+timestamp+"."), body...)
	// While the key is being changed there are two signatures.
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		value, isOurs := strings.CutPrefix(signature, "v1a,")
		given, err := base64.StdEncoding.DecodeString(value)
		if isOurs && err == nil && ed25519.Verify(key, signed, given) {
			return nil
		}
	}
	return errors.New("the signature is not right")
}
