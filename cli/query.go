package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"
	"github.com/spf13/cobra"

	"socktally/config"
)

// defaultAPI is where a query goes if nothing says otherwise.
const defaultAPI = "127.0.0.1:8127"

// queryTimeout is a little more than what the API gives a query.
const queryTimeout = 2 * time.Minute

// queryOptions are the flags of the commands that ask the API.
type queryOptions struct {
	cmd                                                     *cobra.Command
	envFile, addr, from, to, groupBy, filter, tags, version string
	limit                                                   int32
	json                                                    bool
}

// flags adds them to cmd.
func (o *queryOptions) flags(cmd *cobra.Command, groupBy string) {
	o.cmd = cmd
	f := cmd.Flags()
	f.StringVar(&o.envFile, "env-file", config.DefaultEnvFile, "file of NAME=value lines; the environment wins over it")
	f.StringVar(&o.addr, "addr", "", "host:port, unix:///path, or http:// or https:// URL of the API (default SOCKTALLY_LISTEN, else "+defaultAPI+")")
	f.StringVar(&o.from, "from", "", `begin of the window: "15m ago", Unix seconds or RFC 3339 (default 15 minutes before its end)`)
	f.StringVar(&o.to, "to", "", "end of the window (default now)")
	f.StringVar(&o.groupBy, "group-by", groupBy, "comma list of names")
	f.StringVar(&o.filter, "filter", "", `such as 'client_service:web AND NOT server_port:(80 OR 443)' or 'CIDR(network.server.ip, 10.0.0.0/8)'`)
	f.StringVar(&o.tags, "tags", "", "comma list of name:value, of which value may end in *")
	f.Int32Var(&o.limit, "limit", 100, "rows at most, up to 7500")
	f.BoolVar(&o.json, "json", false, "the answer as the API gives it instead of a table")
}

// parameters are those of the two calls of the official client, which are alike.
func (o *queryOptions) parameters() (datadogV2.GetAggregatedConnectionsOptionalParameters, error) {
	p := datadogV2.NewGetAggregatedConnectionsOptionalParameters().WithLimit(o.limit)
	now := time.Now()
	for _, t := range []struct {
		flag, text string
		set        func(int64) *datadogV2.GetAggregatedConnectionsOptionalParameters
	}{{"from", o.from, p.WithFrom}, {"to", o.to, p.WithTo}} {
		if t.text == "" {
			continue
		}
		seconds, err := parseWhen(t.text, now)
		if err != nil {
			return *p, usageError{fmt.Errorf("--%s %q: %w", t.flag, t.text, err)}
		}
		t.set(seconds)
	}
	for _, s := range []struct {
		text string
		set  func(string) *datadogV2.GetAggregatedConnectionsOptionalParameters
	}{{o.groupBy, p.WithGroupBy}, {o.filter, p.WithQuery}, {o.tags, p.WithTags}} {
		if s.text != "" {
			s.set(s.text)
		}
	}
	return *p, nil
}

// client makes the official client for the API that the flags and the environment name, and the
// context that its calls need.
func (o *queryOptions) client() (*datadogV2.CloudNetworkMonitoringApi, context.Context, error) {
	given := o.cmd.Flags().Changed("env-file")
	// The file may hold keys that are not for everybody to read.
	if err := config.OverlayEnvFile(o.envFile, given); err != nil && (given || !errors.Is(err, fs.ErrPermission)) {
		return nil, nil, usageError{err}
	}
	addr, tls := o.addr, false
	if addr == "" {
		addr, tls = os.Getenv("SOCKTALLY_LISTEN"), os.Getenv("SOCKTALLY_TLS_CERT") != ""
	}
	if addr == "" {
		addr = defaultAPI
	}
	url, socket, err := apiURL(addr, tls)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("--addr %q: %w", addr, err)}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	cfg := datadog.NewConfiguration()
	cfg.HTTPClient = &http.Client{Transport: transport, Timeout: queryTimeout}
	cfg.UserAgent = "socktally/" + o.version
	cfg.Servers = datadog.ServerConfigurations{{URL: url}}
	cfg.OperationServers = nil
	ctx := context.Background()
	if key, _, _ := strings.Cut(os.Getenv("SOCKTALLY_API_KEYS"), ","); key != "" {
		ctx = context.WithValue(ctx, datadog.ContextAPIKeys, map[string]datadog.APIKey{"apiKeyAuth": {Key: strings.TrimSpace(key)}})
	}
	return datadogV2.NewCloudNetworkMonitoringApi(datadog.NewAPIClient(cfg)), ctx, nil
}

// apiURL turns an address as SOCKTALLY_LISTEN has it, or a URL, into a URL, and a socket's path if it is
// to be reached by one.
func apiURL(addr string, tls bool) (url, socket string, err error) {
	if strings.HasPrefix(addr, "http://") || strings.HasPrefix(addr, "https://") {
		return strings.TrimRight(addr, "/"), "", nil
	}
	a, loopback, err := config.ParseListen(addr)
	if err != nil {
		return "", "", err
	}
	if a.Network == "unix" {
		return "http://localhost", a.Target, nil
	}
	host, port, err := net.SplitHostPort(a.Target)
	if err != nil {
		return "", "", err
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "" || err == nil && ip.IsUnspecified(): // all interfaces are to listen at, not to ask
		host = map[bool]string{true: "::1", false: "127.0.0.1"}[ip.Is6()]
	case err != nil && loopback && !tls: // localhost, which is looked up only where a certificate may name it
		host = "127.0.0.1"
	}
	scheme := map[bool]string{true: "https://", false: "http://"}[tls]
	return scheme + net.JoinHostPort(host, port), "", nil
}

// answerError says why there is no answer.
func answerError(api *datadogV2.CloudNetworkMonitoringApi, response *http.Response, err error) error {
	where := api.Client.Cfg.Servers[0].URL
	var refused datadog.GenericOpenAPIError
	if errors.As(err, &refused) && response != nil {
		why := strings.TrimSpace(string(refused.ErrorBody))
		var body struct{ Errors []string }
		if json.Unmarshal(refused.ErrorBody, &body) == nil && len(body.Errors) > 0 {
			why = strings.Join(body.Errors, "\n")
		}
		err = fmt.Errorf("ask %s: %s: %s", where, response.Status, why)
		if response.StatusCode == http.StatusBadRequest {
			return usageError{err}
		}
		return err
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ask: %w: nothing listens there; socktally run --listen %s does", err, defaultAPI)
	}
	return fmt.Errorf("ask: %w", err)
}

// ask makes one call, which a signal ends.
func (o *queryOptions) ask(call func(context.Context, *datadogV2.CloudNetworkMonitoringApi, datadogV2.GetAggregatedConnectionsOptionalParameters) (*http.Response, error)) error {
	p, err := o.parameters()
	if err != nil {
		return err
	}
	api, ctx, err := o.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if response, err := call(ctx, api, p); err != nil {
		return answerError(api, response, err)
	}
	return nil
}

// writeAnswer writes an answer as JSON, or its rows as a table.
func writeAnswer[T any](o *queryOptions, stdout, stderr io.Writer, answer any, rows []T, t table[T]) error {
	if o.json {
		return json.NewEncoder(stdout).Encode(answer)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(stderr, "socktally: there is nothing of this kind in this time")
		return err
	}
	for _, line := range t.lines(rows, terminalWidth(stdout)) {
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}
