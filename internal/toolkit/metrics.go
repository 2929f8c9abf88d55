package toolkit

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics scrapes a program's metrics endpoint.
func (t *Toolkit) Metrics(ctx context.Context, name string) (map[string]*dto.MetricFamily, error) {
	return Scrape(ctx, t.HTTPClient(), t.URL(name, "metrics")+"/metrics")
}

// Scrape reads the metrics at an address.
func Scrape(ctx context.Context, client *http.Client, address string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics at %s: %s", address, resp.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(resp.Body)
}

// Gauge returns the value of a metric without labels, such as
// process_cpu_seconds_total.
func (t *Toolkit) Gauge(ctx context.Context, name, metric string) (float64, error) {
	families, err := t.Metrics(ctx, name)
	if err != nil {
		return 0, err
	}
	value, err := Value(families, metric)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

// Value returns the value of a counter or a gauge without labels.
func Value(families map[string]*dto.MetricFamily, metric string) (float64, error) {
	f := families[metric]
	if f == nil || len(f.Metric) == 0 {
		return 0, fmt.Errorf("there is no metric %s", metric)
	}
	m := f.Metric[0]
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue(), nil
	case m.Gauge != nil:
		return m.Gauge.GetValue(), nil
	}
	return 0, fmt.Errorf("metric %s is neither a counter nor a gauge", metric)
}
