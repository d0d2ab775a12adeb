package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"socktally/cli"
	"socktally/config"
)

// renderCommands adds the files that are made from the commands: the man page and the completions.
func renderCommands(files map[string]string) error {
	root := cli.Root(io.Discard, io.Discard, "")
	files["packaging/man/socktally.1"] = manPage(root)
	for name, write := range map[string]func(io.Writer) error{
		"socktally.bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"_socktally":     root.GenZshCompletion,
		"socktally.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			return fmt.Errorf("make completion %s: %w", name, err)
		}
		files["packaging/completion/"+name] = out.String()
	}
	return nil
}

// manPage returns socktally(1), with the commands, their flags, the variables and the files.
func manPage(root *cobra.Command) string {
	var out strings.Builder
	out.WriteString(`.\" Made from the commands and the variables by "make generate".` + "\n")
	out.WriteString(".TH SOCKTALLY 1\n.SH NAME\nsocktally \\- tally of a host's sockets and flows\n")
	out.WriteString(".SH SYNOPSIS\n.B socktally\n.I command\n.RI [ flags ]\n")
	out.WriteString(".SH DESCRIPTION\n" + roff(root.Long) + "\n.SH COMMANDS\n")
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		fmt.Fprintf(&out, ".SS %s\n%s\n", roff(c.CommandPath()), roff(c.Short+"."))
		if c.Long != "" {
			fmt.Fprintf(&out, ".PP\n%s\n", roff(c.Long))
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			kind, usage := pflag.UnquoteUsage(f)
			if f.DefValue != "" && f.DefValue != "false" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(&out, ".TP\n.BI \\-\\-%s \" %s\"\n%s\n", roff(f.Name), roff(kind), roff(usage))
		})
	}
	out.WriteString(".SH ENVIRONMENT\n")
	for _, v := range config.Variables() {
		text := v.Description
		if v.Default != "" {
			text += " (default " + v.Default + ")"
		}
		fmt.Fprintf(&out, ".TP\n.B %s\n%s\n", roff(v.Name), roff(text))
	}
	fmt.Fprintf(&out, ".SH FILES\n.TP\n.I %s\nThe settings, as NAME=value lines. The environment wins over them.\n", roff(config.DefaultEnvFile))
	return out.String()
}

// roff escapes text: hyphens stay hyphens, and no line is taken for a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// envFile returns the sample of the settings: every variable, switched off, at its default.
func envFile() string {
	var out strings.Builder
	out.WriteString(`# The settings of socktally. A line counts without the # before its name. What stands behind = here is
# the default. Variables of the process's environment win over this file; the service sets
# SOCKTALLY_FLOWS there, see /usr/lib/socktally/flows.conf.
`)
	for _, v := range config.Variables() {
		fmt.Fprintf(&out, "\n# %s\n#%s=%s\n", v.Description, v.Name, v.Default)
	}
	return out.String()
}
