// Package process says whose a socket is: the process, what its environment calls it, the container and the pod that it
// runs in, and the network namespaces of the host. It reads /proc and the cgroup v2 hierarchy, and takes what the
// kernel's programs tell of processes that may be gone before anybody could read them there.
package process
