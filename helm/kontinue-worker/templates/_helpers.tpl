{{/* Name of everything. 52 characters: the StatefulSet's controller adds 11 for a label, and pods a number. */}}
{{- define "kontinue-worker.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kontinue-worker.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kontinue-worker.labels" -}}
{{ include "kontinue-worker.selectorLabels" . }}
app.kubernetes.io/component: worker
app.kubernetes.io/part-of: kontinue
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kontinue-worker.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kontinue-worker.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity of memory, whose form the schema has checked. A number of a values file is no text. */}}
{{- define "kontinue-worker.bytes" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $text := toString . -}}
{{- if or (not (kindIs "string" .)) (regexMatch "[eE][0-9]+$" $text) -}}
{{- float64 . -}}
{{- else -}}
{{- mulf (float64 (regexFind "^[0-9.]+" $text)) (float64 (get $units (regexFind "[A-Za-z]*$" $text))) -}}
{{- end -}}
{{- end -}}

{{/* The container's resources. A server refuses a request of memory above the limit: then the limit is requested. */}}
{{- define "kontinue-worker.resources" -}}
{{- $resources := deepCopy (.Values.resources | default dict) -}}
{{- $requested := dig "requests" "memory" "" $resources -}}
{{- $limit := dig "limits" "memory" "" $resources -}}
{{- if and $requested $limit (lt (float64 (include "kontinue-worker.bytes" $limit)) (float64 (include "kontinue-worker.bytes" $requested))) -}}
{{- $_ := set $resources.requests "memory" $limit -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* What no schema can say: values that must fit each other. */}}
{{- define "kontinue-worker.check" -}}
{{- if not .Values.image -}}
{{- fail "\n\nimage is required: build one with kontinue and your code (docs/deploying.md, step 1), push it where your cluster can pull it, and pass --set image=REGISTRY/NAME:TAG" -}}
{{- end -}}
{{- if not .Values.app -}}
{{- fail "\n\napp is required: where your App is, as MODULE:ATTRIBUTE, for example --set app=shop.jobs:app" -}}
{{- end -}}
{{- $longest := divf (subf .Values.lease.durationSeconds 5) 2 -}}
{{- if gt (float64 .Values.lease.renewSeconds) $longest -}}
{{- fail (printf "\n\nlease.renewSeconds %v is too long for lease.durationSeconds %v: at most %v, half of the duration less 5 s, because one lost renewal must not cost the Lease" .Values.lease.renewSeconds .Values.lease.durationSeconds $longest) -}}
{{- end -}}
{{- if and .Values.probes.enabled .Values.metrics.enabled (eq (int .Values.probes.port) (int .Values.metrics.port)) -}}
{{- fail (printf "\n\nprobes.port and metrics.port are both %v: choose two" .Values.probes.port) -}}
{{- end -}}
{{- $memory := dig "limits" "memory" "" (.Values.resources | default dict) -}}
{{- if and $memory (lt (float64 (include "kontinue-worker.bytes" $memory)) 268435456.0) -}}
{{- fail (printf "\n\nresources.limits.memory %v is too little: a replica needs 256Mi for itself, and what is beyond that is for your code" $memory) -}}
{{- end -}}
{{- end -}}
