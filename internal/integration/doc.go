// Package integration tests the socktally binary against receivers that nobody here wrote:
// statsd_exporter by DogStatsD and VictoriaMetrics by HTTP. The tests start the binary as a
// process and look at it from outside only. The packages are installed in Debians booted by their own
// systemd, and the image runs under docker and podman. Expected values come from the tests' own reading of
// /proc.
//
// In the folder official, Datadog's own client judges every payload and every answer.
//
// It is a module of its own, so that the receivers, which are tools in its go.mod, and that client add
// nothing to the product's dependencies. Run it with make integration, or here with go test -count=1: Go does
// not see that the product changed and would show an old result.
//
// The folder programs holds the list of packages in .ci/run to what is called.
//
// Tests of exact socket counts need root, for a network namespace in which nothing else runs; they
// skip without it. With SOCKTALLY_TEST_PRIVILEGED=1 they fail instead. The flag -soak is how long
// the soak test lasts.
package integration
