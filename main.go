// Command socktally tallies a host's sockets and forwards the numbers. See README.md.
package main

import (
	"os"
	_ "time/tzdata" // CRON_TZ= works where no time zone files are, as in a container from scratch

	"socktally/cli"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, version))
}
