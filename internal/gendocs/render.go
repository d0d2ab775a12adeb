package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"socktally/config"
	"socktally/metric"
)

// render returns the text of each generated file by its path. If only the tables of a page are generated, the page is
// included only if it exists.
func render(root string) (map[string]string, error) {
	metadata, err := metadataCSV()
	if err != nil {
		return nil, err
	}
	files := map[string]string{"metadata.csv": metadata, "docs/metrics.md": metricsPage(), "packaging/socktally.env": envFile()}
	if err := renderCommands(files); err != nil {
		return nil, err
	}
	for _, page := range []struct {
		name     string
		sections map[string]string // tables by marker
	}{
		{"README.md", map[string]string{"metrics": metricsTable(), "variables": variablesTable()}},
		{"docs/flow-metrics.md", map[string]string{"tags": flowTagsTable()}},
	} {
		content, err := os.ReadFile(filepath.Join(root, page.name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text := string(content)
		for marker, table := range page.sections {
			if text, err = replaceBetween(text, marker, table); err != nil {
				return nil, fmt.Errorf("%s: %w", page.name, err)
			}
		}
		files[page.name] = text
	}
	return files, nil
}

// metadataCSV has the same columns as metadata.csv in Datadog's integrations.
func metadataCSV() (string, error) {
	var out strings.Builder
	w := csv.NewWriter(&out)
	records := [][]string{{
		"metric_name", "metric_type", "interval", "unit_name", "per_unit_name", "description",
		"orientation", "integration", "short_name", "curated_metric",
	}}
	for _, d := range metric.Catalogue() {
		records = append(records, []string{
			d.Name, d.Kind.String(), "", d.Unit, "", d.Description,
			strconv.Itoa(d.Orientation), "socktally", d.ShortName, "",
		})
	}
	if err := w.WriteAll(records); err != nil {
		return "", fmt.Errorf("write metadata.csv: %w", err)
	}
	return out.String(), nil
}

func metricsPage() string {
	return `# Metrics

<!-- Made from the catalogue in metric/ by "make generate". -->

The scope of a metric is what it counts:

- ` + "`host`" + ` is counted for the whole kernel. Every container of a host reads the same value, so it is to be
  sent once per host. ` + "`SOCKTALLY_SCOPE=netns`" + ` leaves these out.
- ` + "`netns`" + ` is counted for the network namespace that socktally runs in.
- ` + "`process`" + ` is about socktally itself.
- ` + "`setting`" + ` is counted as far as ` + "`SOCKTALLY_SCOPE`" + ` says: in all network namespaces or in the own one.
  These are the flows; [flow-metrics.md](flow-metrics.md) says what they are split by.

A metric whose field or setting the kernel does not have is not sent. Memory is in KiB where the
kernel counts pages. A ratio is between 0 and 1 of the limit, and can pass 1 for a moment.

` + metricsTable()
}

func metricsTable() string {
	var out strings.Builder
	row(&out, "metric", "type", "unit", "scope", "meaning")
	row(&out, "---", "---", "---", "---", "---")
	for _, d := range metric.Catalogue() {
		row(&out, "`"+d.Name+"`", d.Kind.String(), d.Unit, string(d.Scope), d.Description)
	}
	return out.String()
}

func variablesTable() string {
	var out strings.Builder
	row(&out, "variable", "default", "meaning")
	row(&out, "---", "---", "---")
	for _, v := range config.Variables() {
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		row(&out, "`"+v.Name+"`", value, v.Description)
	}
	return out.String()
}

func flowTagsTable() string {
	var out strings.Builder
	row(&out, "name", "value")
	row(&out, "---", "---")
	for _, t := range metric.FlowTags() {
		row(&out, "`"+t.Name+"`", t.Description)
	}
	row(&out, "`"+metric.ProcessTagPrefix+"KEY`", "a tag `KEY`: what `DD_TAGS` of the process at this host's end say under that key")
	return out.String()
}

// row writes one line of a Markdown table.
func row(out *strings.Builder, cells ...string) {
	for _, cell := range cells {
		out.WriteByte('|')
		if cell != "" {
			out.WriteString(" " + strings.ReplaceAll(cell, "|", `\|`))
		}
		out.WriteByte(' ')
	}
	out.WriteString("|\n")
}

// replaceBetween replaces the text between two comments with the marker by table. Without these comments, the text does
// not change. It is an error if there is only one of the two, or a second pair.
func replaceBetween(text, marker, table string) (string, error) {
	open, end := "<!-- "+marker+" -->\n", "<!-- /"+marker+" -->"
	opens, ends := strings.Count(text, open), strings.Count(text, end)
	if opens == 0 && ends == 0 {
		return text, nil
	}
	before, rest, _ := strings.Cut(text, open)
	_, after, found := strings.Cut(rest, end)
	if opens != 1 || ends != 1 || !found {
		return "", fmt.Errorf("want one %q on a line of its own and one %q after it", strings.TrimSpace(open), end)
	}
	return before + open + "\n" + table + "\n" + end + after, nil
}
