package config_test

import (
	"fmt"

	"socktally/config"
)

func Example() {
	env := config.Environment{
		"DD_HOSTNAME":               "web-1",
		"DD_ENV":                    "prod",
		"SOCKTALLY_TAGS":            "team:net",
		"SOCKTALLY_FORWARD":         "stdout",
		"SOCKTALLY_SPOOL_MAX_BYTES": "1MiB",
	}
	c, err := config.Load(env.Lookup)
	fmt.Println(c.Hostname, c.Forward, c.Tags, c.Spool.MaxBytes, c.Spool.MaxAge, err)

	env["SOCKTALLY_SPOOL_MAX_BYTES"] = "much"
	env["SOCKTALLY_LOG_FORMAT"] = "xml"
	_, err = config.Load(env.Lookup)
	fmt.Println(err)
	// Output:
	// web-1 [stdout] [env:prod team:net] 1048576 1h0m0s <nil>
	// SOCKTALLY_SPOOL_MAX_BYTES="much": want a number of bytes, or one with KiB, MiB or GiB, such as 64MiB
	// SOCKTALLY_LOG_FORMAT="xml": want one of text, json
}
