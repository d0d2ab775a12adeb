package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// keyHeader carries the key of a request, as with Datadog's own API.
const keyHeader = "DD-API-KEY"

// keys are hashes of keys. A request must have one of the keys. If there are no keys, no key is asked for.
type keys [][sha256.Size]byte

func hashKeys(plain []string) keys {
	var all keys
	for _, key := range plain {
		all = append(all, sha256.Sum256([]byte(key)))
	}
	return all
}

// admit checks the key of a request. It always compares all keys, so that its time does not give information about them.
func (k keys) admit(r *http.Request) error {
	if len(k) == 0 {
		return nil
	}
	given := r.Header.Get(keyHeader)
	hash := sha256.Sum256([]byte(given))
	found := 0
	for i := range k {
		found |= subtle.ConstantTimeCompare(hash[:], k[i][:])
	}
	switch {
	case found == 1:
		return nil
	case given == "":
		return errors.New("no header " + keyHeader + ": want one of the keys of SOCKTALLY_API_KEYS in it")
	}
	return errors.New("the key in the header " + keyHeader + " is not one of SOCKTALLY_API_KEYS")
}

// checkHost protects from DNS rebinding: a web page lets its own name resolve to this address, and its script then sends
// requests here by the browser. Such a request has the page's name as its host and is refused. This is for a loopback
// address without keys. With keys it is not needed, because the page has no key.
func checkHost(r *http.Request) error {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return nil
	}
	return fmt.Errorf("host %s: want localhost or a loopback address, as no key is asked for here", shorten(r.Host))
}
