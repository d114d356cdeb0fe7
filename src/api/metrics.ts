// The API's own figures, beside the engine's under /metrics.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export class ApiMetrics {
  readonly #registry = new Registry()
  readonly requests = new Counter({
    name: 'tributary_http_requests_total',
    help: 'Requests answered',
    labelNames: ['method', 'route', 'status'] as const,
    registers: [this.#registry],
  })
  readonly seconds = new Histogram({
    name: 'tributary_http_request_seconds',
    help: 'Time to answer, streams excepted',
    labelNames: ['route'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.#registry],
  })
  readonly accepted = new Counter({ name: 'tributary_intake_events_total', help: 'Messages accepted', registers: [this.#registry] })
  readonly rejected = new Counter({
    name: 'tributary_intake_rejected_total',
    help: 'Messages dead-lettered by intake',
    labelNames: ['code'] as const,
    registers: [this.#registry],
  })
  readonly bytes = new Counter({
    name: 'tributary_intake_bytes_total',
    help: 'Bytes of bodies received, before inflating',
    registers: [this.#registry],
  })
  readonly streams = new Gauge({ name: 'tributary_transition_streams', help: 'Transition streams open', registers: [this.#registry] })
  readonly slowStreams = new Counter({
    name: 'tributary_transition_streams_slow_total',
    help: 'Transition streams ended because their reader took nothing',
    registers: [this.#registry],
  })

  /** Prometheus text. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
