{{/* Base job templates of the work pool, as YAML. What stands in double braces is filled in by Prefect's worker. */}}

{{- define "cai.template.variables" -}}
name:
  title: Name
  description: Name given to what a worker creates.
  type: string
env:
  title: Environment Variables
  description: Environment variables of a run.
  type: object
  additionalProperties:
    type: string
labels:
  title: Labels
  description: Labels of what a worker creates.
  type: object
  additionalProperties:
    type: string
command:
  title: Command
  description: The command of a run in a process pool. A pod of its own starts prefect flow-run execute.
  type: string
working_dir:
  title: Working Directory
  description: Where the code is in the image.
  type: string
  default: /app
stream_output:
  title: Stream Output
  description: Whether a run's output appears in the worker's.
  type: boolean
  default: true
{{- end -}}

{{- define "cai.template.process" -}}
job_configuration:
  command: "{{ "{{ command }}" }}"
  env: "{{ "{{ env }}" }}"
  labels: "{{ "{{ labels }}" }}"
  name: "{{ "{{ name }}" }}"
  stream_output: "{{ "{{ stream_output }}" }}"
  working_dir: "{{ "{{ working_dir }}" }}"
variables:
  type: object
  properties:
    {{- include "cai.template.variables" . | nindent 4 }}
{{- end -}}

{{- define "cai.template.kubernetes" -}}
{{- $runs := .Values.runs -}}
job_configuration:
  command: "{{ "{{ command }}" }}"
  env: "{{ "{{ env }}" }}"
  labels: "{{ "{{ labels }}" }}"
  name: "{{ "{{ name }}" }}"
  namespace: {{ .Release.Namespace }}
  pod_watch_timeout_seconds: "{{ "{{ pod_watch_timeout_seconds }}" }}"
  stream_output: "{{ "{{ stream_output }}" }}"
  job_manifest:
    apiVersion: batch/v1
    kind: Job
    metadata:
      generateName: "{{ "{{ name }}" }}-"
      namespace: {{ .Release.Namespace }}
      labels: "{{ "{{ labels }}" }}"
    spec:
      # A crashed run is Prefect's to run again, never Kubernetes' behind its back.
      backoffLimit: 0
      completions: 1
      parallelism: 1
      ttlSecondsAfterFinished: "{{ "{{ finished_job_ttl }}" }}"
      template:
        metadata:
          labels:
            {{- with (include "cai.pods" (list . $runs.pods) | fromJson).labels }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- include "cai.selector" (list . "run") | nindent 12 }}
            app.kubernetes.io/part-of: clinical-ai-prefect
          annotations:
            # An autoscaler that moved it would end the load.
            cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
            {{- with (include "cai.pods" (list . $runs.pods) | fromJson).annotations }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: {{ $runs.terminationGracePeriodSeconds }}
          {{- include "cai.podSpec" (list . $runs "run" false) | nindent 10 }}
          containers:
            - name: prefect-job
              image: "{{ "{{ image }}" }}"
              imagePullPolicy: {{ .Values.image.pullPolicy }}
              # Not a deployment's own command, the bare engine: in a pod of its own nobody would end it when the run is
              # cancelled, and a drained node would leave it Crashed. This one is cancelled, and rescheduled on SIGTERM.
              args: [prefect, flow-run, execute]
              workingDir: "{{ "{{ working_dir }}" }}"
              securityContext:
                {{- include "cai.containerSecurity" . | nindent 16 }}
              envFrom:
                - configMapRef:
                    name: {{ include "cai.fullname" . }}-platform
                {{- include "cai.connectorSecrets" . | nindent 16 }}
                {{- include "cai.extra" (list $runs "extraEnvFrom") | nindent 16 }}
              env:
                {{- include "cai.databaseEnv" . | nindent 16 }}
                {{- include "cai.clientAuthEnv" . | nindent 16 }}
                {{- include "cai.maskingEnv" . | nindent 16 }}
                # A key made in a directory that ends with its pod would be another one for each run.
                - name: CAI_MASK_KEY_REQUIRED
                  value: "1"
                {{- include "cai.extra" (list $runs "extraEnv") | nindent 16 }}
              resources:
                requests:
                  cpu: "{{ "{{ cpu_request }}" }}"
                  memory: "{{ "{{ memory_request }}" }}"
                limits:
                  cpu: "{{ "{{ cpu_limit }}" }}"
                  memory: "{{ "{{ memory_limit }}" }}"
              volumeMounts:
                {{- include "cai.mounts" "scratch" | nindent 16 }}
                {{- include "cai.extra" (list $runs "extraVolumeMounts") | nindent 16 }}
          volumes:
            - name: scratch
              emptyDir:
                sizeLimit: {{ $runs.scratch }}
            {{- include "cai.extra" (list $runs "extraVolumes") | nindent 12 }}
variables:
  type: object
  properties:
    {{- include "cai.template.variables" . | nindent 4 }}
    image:
      title: Image
      description: The image of a run.
      type: string
      default: {{ include "cai.image" . | quote }}
    finished_job_ttl:
      title: Finished Job TTL
      description: Seconds that a finished Job is kept.
      type: integer
      default: {{ int $runs.ttlSecondsAfterFinished }}
    pod_watch_timeout_seconds:
      title: Pod Watch Timeout Seconds
      description: Seconds to wait for a run's pod.
      type: integer
      default: {{ int $runs.podWatchTimeoutSeconds }}
    {{- range $name := list "request" "limit" }}
    {{- $amounts := index $runs.resources (printf "%ss" $name) | default dict }}
    {{- range $kind := list "cpu" "memory" }}
    {{ $kind }}_{{ $name }}:
      title: {{ printf "%s %s" (ternary "CPU" "Memory" (eq $kind "cpu")) (title $name) }}
      type: string
      {{- with index $amounts $kind }}
      default: {{ . | quote }}
      {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
