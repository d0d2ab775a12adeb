// Package finding holds what a check has found: of the host, of the settings or of a receiver.
package finding

// State is how a check went.
type State string

const (
	OK   State = "ok"
	Less State = "less" // it works, with less
	Bad  State = "bad"  // it does not work
)

// Finding is the result of one check. It holds no secret.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	Text  string `json:"text"`
	// Remedy is the one thing to do, "" where there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}
