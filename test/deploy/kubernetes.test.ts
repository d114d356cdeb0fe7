import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor'
import type { IStatefulSet } from 'kubernetes-models/apps/v1/StatefulSet'
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import type { IContainer } from 'kubernetes-models/v1/Container'
import type { ISecret } from 'kubernetes-models/v1/Secret'
import type { IService } from 'kubernetes-models/v1/Service'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { assertSafeToListen, type Config } from '../../src/config.ts'
import { loadConfig } from '../../src/config-load.ts'
import { must } from '../../src/core/assert.ts'
import { documentsOf, imageEnvironment, instructionsOf, isRoute, textOf, yamlOf } from './files.ts'

const FOLDER = 'deploy/kubernetes'
const MODELS: { readonly [kind: string]: string } = {
  StatefulSet: 'kubernetes-models/apps/v1/StatefulSet',
  PodDisruptionBudget: 'kubernetes-models/policy/v1/PodDisruptionBudget',
  Service: 'kubernetes-models/v1/Service',
  Secret: 'kubernetes-models/v1/Secret',
  ServiceMonitor: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor',
}
const FILES = ['services.yaml', 'stateful-set.yaml', 'disruption-budget.yaml', 'secret.example.yaml', 'service-monitor.yaml']
const NAMED = { 'app.kubernetes.io/name': 'tributary' }

const objects = FILES.flatMap((file) => documentsOf(`${FOLDER}/${file}`)) as { kind: string }[]
const one = <T>(kind: string): T =>
  must(
    objects.find((o) => o.kind === kind),
    `there is a ${kind}`,
  ) as T
const set = one<IStatefulSet>('StatefulSet')
const pod = must(set.spec?.template.spec, 'the set has a template')
const container: IContainer = must(pod.containers[0], 'a pod has a container')
const port = must(container.ports?.[0], 'the container has a port')
const secret = must(one<ISecret>('Secret').stringData, 'the example is not encoded')
const services = objects.filter((o) => o.kind === 'Service') as unknown as IService[]
const front = must(
  services.find((s) => s.spec?.clusterIP === undefined),
  'one Service is in front',
)
const processes = must(
  services.find((s) => s.spec?.clusterIP === 'None'),
  'one Service names processes',
)

/** The environment of the process in pod tributary-0. */
function environment(): { [name: string]: string } {
  const set: { [name: string]: string } = { ...imageEnvironment() }
  for (const { name, value, valueFrom } of container.env ?? []) {
    const { secretKeyRef, fieldRef } = valueFrom ?? {}
    const from = secretKeyRef ? secret[secretKeyRef.key] : fieldRef?.fieldPath === 'metadata.name' ? 'tributary-0' : undefined
    set[name] = must(value?.replaceAll(/\$\((\w+)\)/g, (_, other: string) => must(set[other], `${other} is set before`)) ?? from, name)
  }
  return set
}

/** As that process reads it, its file of options included. */
function config(): Config {
  const { TRIBUTARY_CONFIG: file, ...env } = environment()
  const mounted = must(
    container.volumeMounts?.find((m) => m.name === 'config'),
    'the file is mounted',
  )
  expect(file).toBe(`${mounted.mountPath}/tributary.yaml`)
  return loadConfig({ argv: ['--config', `${FOLDER}/tributary.yaml`], env })
}

/** Each object as a literal of its published type, where a name that is none is an error. */
function typeErrors(shown: readonly { kind: string }[]): string[] {
  const file = `${import.meta.dirname}/objects.ts`
  const lines = shown.map((o, i) => {
    const model = must(MODELS[o.kind], `${o.kind} has a model`)
    return `import type { I${o.kind} as T${i} } from '${model}'\nexport const o${i}: T${i} = ${JSON.stringify(o)}\n`
  })
  const options = { module: ts.ModuleKind.NodeNext, strict: true, noEmit: true, skipLibCheck: true, types: [] }
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists } = host
  host.readFile = (name) => (name === file ? lines.join('') : readFile(name))
  host.fileExists = (name) => name === file || fileExists(name)
  const program = ts.createProgram([file], options, host)
  return ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, '\n'))
}

describe('the manifests', () => {
  test('fit the published types, which find a name that is none', () => {
    expect(typeErrors(objects)).toEqual([])
    const misspelt = structuredClone(set)
    Object.assign(must(misspelt.spec?.template.spec?.containers[0], 'a container'), { livenessprobe: {} })
    expect(typeErrors([misspelt]).join()).toContain('livenessprobe')
  })

  test('are all named by the kustomization, but for the secret and what an operator must be there for', () => {
    const { resources, configMapGenerator } = yamlOf(`${FOLDER}/kustomization.yaml`) as {
      resources: string[]
      configMapGenerator: { name: string; files: string[] }[]
    }
    expect(resources.toSorted()).toEqual(['disruption-budget.yaml', 'services.yaml', 'stateful-set.yaml'])
    expect(configMapGenerator).toEqual([
      { name: pod.volumes?.find((v) => v.name === 'config')?.configMap?.name, files: ['tributary.yaml'] },
    ])
  })

  test('select the pods by the name that these carry', () => {
    expect(set.spec?.template.metadata?.labels).toEqual(NAMED)
    const spread = must(pod.topologySpreadConstraints?.[0], 'processes are spread')
    const budget = one<IPodDisruptionBudget>('PodDisruptionBudget').spec
    for (const selector of [set.spec?.selector, spread.labelSelector, budget?.selector]) expect(selector?.matchLabels).toEqual(NAMED)
    for (const { spec } of services) expect(spec?.selector).toEqual(NAMED)
    expect(budget?.maxUnavailable).toBe(1)
  })
})

describe('a process in Kubernetes', () => {
  test('is configured by options that exist, with the secrets of the example, and may listen', () => {
    const c = config()
    assertSafeToListen(c)
    expect(c.keys.map((k) => k.role).toSorted()).toEqual(['admin', 'read', 'write'])
    expect(c.kafka).toMatchObject({ prefix: 'tributary', secret: secret.secret })
  })

  test('is reached by the others under the name that the headless Service gives it', () => {
    expect(processes.spec?.publishNotReadyAddresses).toBe(true)
    expect(set.spec?.serviceName).toBe(processes.metadata?.name)
    expect(config().kafka?.advertise).toBe(`http://tributary-0.${processes.metadata?.name}:${port.containerPort}`)
  })

  test('listens on the port that all name', () => {
    expect(config()).toMatchObject({ host: '0.0.0.0', port: port.containerPort })
    for (const { spec } of services) expect(spec?.ports).toMatchObject([{ name: 'http', port: port.containerPort, targetPort: port.name }])
  })

  test('is probed at routes that exist and need no key', async () => {
    const probes = { live: container.livenessProbe, start: container.startupProbe, ready: container.readinessProbe }
    for (const probe of Object.values(probes)) expect(probe?.httpGet?.port).toBe(port.name)
    expect(probes.live?.httpGet?.path).toBe('/healthz')
    expect(probes.start?.httpGet?.path).toBe('/healthz')
    expect(probes.ready?.httpGet?.path).toBe('/readyz')
    expect(await Promise.all(['/healthz', '/readyz'].map(isRoute))).toEqual([true, true])
  })

  test('keeps its data in the volume that is claimed, and writes nowhere else', () => {
    const claim = must(set.spec?.volumeClaimTemplates?.[0], 'a volume is claimed')
    const mount = container.volumeMounts?.find((m) => m.name === claim.metadata?.name)
    expect(mount?.mountPath).toBe(config().dataDir)
    expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true, allowPrivilegeEscalation: false })
  })

  test('runs as the user of the image, without rights', () => {
    const user = Number(
      must(
        instructionsOf(textOf('Dockerfile')).find((i) => i.name === 'USER'),
        'the image names a user',
      ).rest.split(':')[0],
    )
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: user, runAsGroup: user, fsGroup: user })
    expect(container.securityContext?.capabilities?.drop).toEqual(['ALL'])
  })

  test('gets no environment from Services, which would be taken for options', () => {
    expect(pod.enableServiceLinks).toBe(false)
    const foreign = { TRIBUTARY_PROCESSES_PORT_8080_TCP: 'tcp://10.0.0.1:8080' }
    expect(() => loadConfig({ env: foreign, cwd: '/' })).toThrow('no option')
  })

  test('has longer to stop than it waits for requests under way', () => {
    const sleeps = must(container.lifecycle?.preStop?.sleep?.seconds, 'it waits to be taken out of the Service')
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(sleeps + 30)
  })

  test('tells its figures to whoever shows the key of the secret', async () => {
    const { spec } = one<IServiceMonitor>('ServiceMonitor')
    const endpoint = must(spec?.endpoints[0], 'it asks for something')
    expect(endpoint.port).toBe(processes.spec?.ports?.[0]?.name)
    expect(processes.metadata?.labels).toMatchObject(must(spec?.selector.matchLabels, 'it selects'))
    expect(front.metadata?.labels).not.toMatchObject(must(spec?.selector.matchLabels, 'it selects'))
    expect(await isRoute(must(endpoint.path, 'it names a path'))).toBe(true)
    expect(secret).toHaveProperty(must(endpoint.authorization?.credentials?.key, 'it shows a key'))
    expect((parse(must(secret.keys, 'keys')) as { role: string }[]).map((k) => k.role)).toContain('read')
  })
})
