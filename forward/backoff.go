package forward

import (
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 250 * time.Millisecond
	backoffCap  = 30 * time.Second
)

// backoff returns how long to wait after a failed attempt, of which the first has number 0. The wait is a random time
// between half of the full wait and all of it, so that many hosts do not try again at the same moment.
func backoff(attempt int) time.Duration {
	full := backoffCap
	if attempt < 7 { // 250 ms << 7 is past the cap
		full = backoffBase << attempt
	}
	return full/2 + rand.N(full/2+1)
}
