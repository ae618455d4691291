{{/* Names. */}}

{{- define "cai.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: selectors stand on them. Called with (list $ "component"). The pods of runs get
     app.kubernetes.io/name from Prefect, so nothing may select by it. */}}
{{- define "cai.selector" -}}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "cai.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
{{ include "cai.selector" . }}
app.kubernetes.io/part-of: clinical-ai-prefect
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cai.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "cai.serverUrl" -}}
http://{{ include "cai.fullname" . }}-server:{{ .Values.server.service.port }}/api
{{- end -}}

{{/* Secrets. Each is called with (list $ secret "suffix"), where secret has existingSecret, key and value. */}}

{{- define "cai.secretGiven" -}}
{{- if or .existingSecret .value -}}yes{{- end -}}
{{- end -}}

{{- define "cai.secretName" -}}
{{- $secret := index . 1 -}}
{{- if $secret.existingSecret -}}
{{ $secret.existingSecret }}
{{- else -}}
{{ include "cai.fullname" (index . 0) }}-{{ index . 2 }}
{{- end -}}
{{- end -}}

{{/* (list $ "VARIABLE" secret "suffix"): one entry of `env`. */}}
{{- define "cai.secretEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "cai.secretName" (list (index . 0) (index . 2) (index . 3)) }}
      key: {{ (index . 2).key }}
{{- end -}}

{{/* The key of masked columns: for what runs loads, and for nothing else. */}}
{{- define "cai.maskingEnv" -}}
{{- if include "cai.secretGiven" .Values.masking -}}
{{ include "cai.secretEnv" (list . "CAI_SECRET_MASK_KEY" .Values.masking "masking") }}
{{- end -}}
{{- end -}}

{{- define "cai.databaseEnv" -}}
{{ include "cai.secretEnv" (list . "CAI_DATABASE_URL" .Values.database "database") }}
{{- end -}}

{{/* Who else says who somebody is: for the REST API and the page. */}}
{{- define "cai.signInEnv" -}}
{{- $in := .Values.api.signIn -}}
{{- $texts := dict
  "CAI_PAGE_URL" $in.pageUrl
  "CAI_OIDC_ISSUER" $in.oidc.issuer
  "CAI_OIDC_CLIENT_ID" $in.oidc.clientId
  "CAI_OIDC_AUDIENCE" $in.oidc.audience
  "CAI_OIDC_GROUPS_CLAIM" $in.oidc.groupsClaim
  "CAI_OIDC_SCOPES" $in.oidc.scopes
  "CAI_OIDC_ROLES" (ternary (toJson $in.oidc.roles) "" (not (empty $in.oidc.roles)))
  "CAI_TRUSTED_USER_HEADER" $in.trustedProxy.userHeader
  "CAI_TRUSTED_GROUPS_HEADER" $in.trustedProxy.groupsHeader
  "CAI_TRUSTED_PROXIES" (join "," $in.trustedProxy.proxies)
-}}
{{- range $name, $text := $texts }}
{{- if $text }}
- name: {{ $name }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- if include "cai.secretGiven" $in.oidc.clientSecret }}
{{ include "cai.secretEnv" (list . "CAI_OIDC_CLIENT_SECRET" $in.oidc.clientSecret "oidc-client") }}
{{- end }}
{{- end -}}

{{/* What a client of the Prefect server needs beside PREFECT_API_URL. */}}
{{- define "cai.clientAuthEnv" -}}
{{- if include "cai.secretGiven" .Values.server.auth -}}
{{ include "cai.secretEnv" (list . "PREFECT_API_AUTH_STRING" .Values.server.auth "server-auth") }}
{{- end -}}
{{- end -}}

{{- define "cai.serverSecretEnv" -}}
{{ include "cai.secretEnv" (list . "PREFECT_SERVER_DATABASE_CONNECTION_URL" .Values.server.database "server-database") }}
{{- if include "cai.secretGiven" .Values.server.auth }}
{{ include "cai.secretEnv" (list . "PREFECT_SERVER_API_AUTH_STRING" .Values.server.auth "server-auth") }}
{{- end }}
{{- if .Values.redis.enabled }}
{{ include "cai.secretEnv" (list . "PREFECT_SERVER_DOCKET_URL" .Values.redis "redis") }}
{{ include "cai.secretEnv" (list . "PREFECT_REDIS_MESSAGING_URL" .Values.redis "redis") }}
{{- end }}
{{- end -}}

{{- define "cai.connectorSecrets" -}}
{{- range .Values.connectorSecrets }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end -}}

{{/* Pods. */}}

{{/* A workload's own `pods` over the common one, as JSON. Called with (list $ own). */}}
{{- define "cai.pods" -}}
{{- mergeOverwrite (deepCopy (index . 0).Values.pods) (deepCopy (default dict (index . 1))) | toJson -}}
{{- end -}}

{{/* Restarts pods whose configuration changed. What lies in existing Secrets is not seen: restart by hand then. */}}
{{- define "cai.checksums" -}}
checksum/config: {{ include (print .Template.BasePath "/config.yaml") . | sha256sum }}
checksum/secrets: {{ include (print .Template.BasePath "/secrets.yaml") . | sha256sum }}
{{- end -}}

{{/* metadata of a pod template. Called with (list $ "component" own). */}}
{{- define "cai.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $pods := include "cai.pods" (list $root (index . 2)) | fromJson -}}
labels:
  {{- with $pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "cai.labels" (list $root (index . 1)) | nindent 2 }}
annotations:
  {{- include "cai.checksums" $root | nindent 2 }}
  {{- with $pods.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Who a pod runs as. Called with (list $ own). */}}
{{- define "cai.podSecurity" -}}
{{- $pods := include "cai.pods" . | fromJson -}}
runAsNonRoot: true
{{- with $pods.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with $pods.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with $pods.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "cai.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Called with (list $ own). */}}
{{- define "cai.placement" -}}
{{- $pods := include "cai.pods" . | fromJson -}}
{{- with $pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with (index . 0).Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Replicas over nodes and zones. Called with (list $ "component" own). */}}
{{- define "cai.spread" -}}
{{- $pods := include "cai.pods" (list (index . 0) (index . 2)) | fromJson -}}
{{- with $pods.topologySpread }}
topologySpreadConstraints:
  {{- $when := . }}
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    {{- /* A cluster of one zone, or without zones, must still take pods. */}}
    whenUnsatisfiable: {{ eq $key "kubernetes.io/hostname" | ternary $when "ScheduleAnyway" }}
    labelSelector:
      matchLabels:
        {{- include "cai.selector" (list (index $ 0) (index $ 1)) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Everything that is written lies on one scratch volume: the root is read-only. Called with the name of the volume
     that holds the data directory. */}}
{{- define "cai.mounts" -}}
- name: scratch
  mountPath: /tmp
  subPath: tmp
- name: scratch
  mountPath: /home/cai
  subPath: home
- name: {{ . }}
  mountPath: /data
  {{- if eq . "scratch" }}
  subPath: data
  {{- end }}
{{- end -}}

{{- define "cai.scratch" -}}
- name: scratch
  emptyDir: {}
{{- end -}}

{{/* What the values add to a container. Called with (list workload "extraEnv"), or another of the four; none is nothing. */}}
{{- define "cai.extra" -}}
{{- with index (index . 0) (index . 1) }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The name of a service account, and its metadata. Called with (list $ "component" serviceAccount). */}}
{{- define "cai.account" -}}
{{- $own := printf "%s-%s" (include "cai.fullname" (index . 0)) (index . 1) -}}
{{- default $own (index . 2).name -}}
{{- end -}}

{{- define "cai.accountMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "cai.account" . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "cai.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{/* The start of every pod's spec. Called with (list $ workload "component" token), where token says whether it may speak
     with Kubernetes. */}}
{{- define "cai.podSpec" -}}
{{- $root := index . 0 -}}
{{- $workload := index . 1 -}}
serviceAccountName: {{ include "cai.account" (list $root (index . 2) $workload.serviceAccount) }}
automountServiceAccountToken: {{ index . 3 }}
{{- /* Links of a Service that is called prefect-... would be taken for Prefect's settings. */}}
enableServiceLinks: false
securityContext:
  {{- include "cai.podSecurity" (list $root $workload.pods) | nindent 2 }}
{{- include "cai.placement" (list $root $workload.pods) }}
{{- end -}}

{{/* The start of every container. */}}
{{- define "cai.container" -}}
image: {{ include "cai.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "cai.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/* metadata of an object. Called with (list $ "component" "suffix"). */}}
{{- define "cai.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "cai.fullname" $root }}-{{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "cai.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{- define "cai.budget" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.disruptionBudgets.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "cai.metadata" (list $root (index . 1) (index . 1)) | nindent 2 }}
spec:
  maxUnavailable: {{ $root.Values.disruptionBudgets.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "cai.selector" (list $root (index . 1)) | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "cai.uiApiUrl" -}}
{{- if .Values.server.uiApiUrl -}}
{{ .Values.server.uiApiUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.prefect.host -}}
{{ ternary "https" "http" (ne .Values.ingress.prefect.tlsSecret "") }}://{{ .Values.ingress.prefect.host }}/api
{{- else -}}
http://localhost:{{ .Values.server.service.port }}/api
{{- end -}}
{{- end -}}

{{/* A claim. Called with (list $ "component" "suffix" persistence). */}}
{{- define "cai.claim" -}}
{{- $persistence := index . 3 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "cai.metadata" . | nindent 2 }}
  annotations:
    # Data outlives an uninstall; delete the claim by hand.
    helm.sh/resource-policy: keep
spec:
  accessModes: [{{ $persistence.accessMode }}]
  {{- with $persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $persistence.size }}
{{- end -}}

{{/* One egress rule. Called with (list reach "TCP"). */}}
{{- define "cai.egressTo" -}}
{{- $reach := index . 0 -}}
{{- $protocol := index . 1 -}}
- ports:
    {{- range $reach.ports }}
    - {port: {{ . }}, protocol: {{ $protocol }}}
    {{- end }}
  {{- with $reach.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "cai.egressDns" -}}
{{ include "cai.egressTo" (list .Values.networkPolicy.dns "UDP") }}
{{ include "cai.egressTo" (list .Values.networkPolicy.dns "TCP") }}
{{- end -}}
