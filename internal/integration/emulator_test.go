package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debianKernel is the kernel of a suite of Debian whose package is linux-image-FLAVOUR.
type debianKernel struct{ suite, flavour string }

func (k debianKernel) arch() string {
	if strings.Contains(k.flavour, "arm64") {
		return "arm64"
	}
	return "amd64"
}

// kernelImage is a kernel that is here.
type kernelImage struct {
	debianKernel
	vmlinuz string
	modules string // a folder that has lib/modules
}

// fetch downloads the kernel, unless an earlier run has.
func (k debianKernel) fetch(t *testing.T) kernelImage {
	t.Helper()
	needTool(t, emulators[k.arch()].program)
	needTool(t, "depmod")
	folder := kernelFolder(t)
	if out, err := exec.Command("./fetch-kernels.sh", folder, k.suite+"/"+k.flavour).CombinedOutput(); err != nil {
		skip(t, "cannot fetch the kernel: %v\n%s", err, out)
	}
	root := filepath.Join(folder, k.suite, k.flavour)
	return kernelImage{k, filepath.Join(root, "vmlinuz"), filepath.Join(root, "modules")}
}

// kernelFolder is kept between runs, as the kernels are 10 to 40 MB each.
func kernelFolder(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(cache, "socktally-kernels")
}

// emulators are the programs that boot the kernels of an architecture, and where these write.
var emulators = map[string]struct{ program, board, console string }{
	"amd64": {"qemu-system-x86_64", "pc", "ttyS0"},
	"arm64": {"qemu-system-aarch64", "virt", "ttyAMA0"},
}

// boot runs the kernel in an emulated machine with two processors and MiB of memory until the machine is
// turned off, and returns what it wrote on its console. A second serial line, if there is one, is written to a file.
func (k kernelImage) boot(t *testing.T, memory, initrd string, secondLine ...string) string {
	t.Helper()
	ctx := t.Context()
	if deadline, bounded := t.Deadline(); bounded {
		const forReport = 20 * time.Second // a machine that hangs is shown before all tests end
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-forReport))
		defer cancel()
	}
	e := emulators[k.arch()]
	args := []string{e.program, "-M", e.board, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", memory,
		"-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"}
	for _, path := range secondLine {
		args = append(args, "-serial", "file:"+path)
	}
	args = append(args, "-kernel", k.vmlinuz, "-initrd", initrd, "-append", "console="+e.console+" panic=-1 quiet mitigations=off")
	began := time.Now()
	out, err := exec.CommandContext(ctx, "nice", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, tail(string(out)))
	}
	t.Logf("the machine ran for %v", time.Since(began).Round(time.Second))
	return string(out)
}

// goBuild builds what is in a folder for an architecture. The verb is build or test, whose flags follow it.
func goBuild(t *testing.T, arch, to, folder, verb string, flags ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{verb, "-C", folder, "-trimpath", "-o", to}, append(flags, ".")...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// packInitrd packs what is in some folders.
func packInitrd(t *testing.T, folders ...string) string {
	t.Helper()
	needTool(t, "cpio")
	initrd := filepath.Join(t.TempDir(), "initrd")
	for _, folder := range folders {
		pack := exec.Command("sh", "-c", `find . -print0 | cpio --quiet -o -0 -H newc >>"$0"`, initrd)
		pack.Dir = folder
		if out, err := pack.CombinedOutput(); err != nil {
			t.Fatalf("cpio: %v\n%s", err, out)
		}
	}
	return initrd
}
