// Package finding has the type for the result of a check of the host, the settings or a receiver.
package finding

// State says whether it works.
type State string

const (
	OK   State = "ok"
	Less State = "less" // it works, but something is missing
	Bad  State = "bad"  // it does not work
)

// Finding is the result of one check. It has no secret in it.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	Text  string `json:"text"`
	// Remedy is the one thing to do, "" if there is nothing to do.
	Remedy string `json:"remedy,omitempty"`
}
