// Package process finds the owner of a socket: the process, the service that its environment names, its container and
// its pod. It also finds the network namespaces of the host. It reads /proc and the cgroup v2 hierarchy. For processes
// that end too soon for that, it uses the snapshots that the BPF programs take.
package process
