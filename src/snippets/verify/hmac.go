package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
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
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		return errors.New("WEBHOOK_SECRET is no secret")
	}
	timestamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("the timestamp is not of these minutes")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header.Get("webhook-id") + "." + timestamp + "."))
	mac.Write(body)
	expected := mac.Sum(nil)
	// While the secret is being changed there are two signatures.
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		value, isOurs := strings.CutPrefix(signature, "v1,")
		given, err := base64.StdEncoding.DecodeString(value)
		if isOurs && err == nil && hmac.Equal(given, expected) {
			return nil
		}
	}
	return errors.New("the signature is not right")
}
