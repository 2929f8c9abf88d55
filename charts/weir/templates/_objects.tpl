{{/*
The objects themselves are in files/, which `make chart` renders from config/:
nothing is written twice. What is here changes them as the values say.
*/}}

{{/* weir.data: a file of the chart for the namespace of the release. */}}
{{- define "weir.data" -}}
{{- $text := .root.Files.Get .file -}}
{{- if not $text -}}
{{- fail (printf "%s is not in this chart: package it with `make chart`" .file) -}}
{{- end -}}
{{- $text | replace "flux-system" .root.Release.Namespace -}}
{{- end -}}

{{/* weir.controllers: the controllers that are switched on, with their values. */}}
{{- define "weir.controllers" -}}
{{- $on := dict -}}
{{- range $name, $key := dict "source-controller" "sourceController" "kustomize-controller" "kustomizeController" "notification-controller" "notificationController" "image-automation-controller" "imageAutomationController" -}}
{{- $values := index $.Values $key | default dict -}}
{{- if $values.enabled -}}{{- $_ := set $on $name $values -}}{{- end -}}
{{- end -}}
{{- toJson $on -}}
{{- end -}}

{{/* weir.components: what the chosen components add and remove. */}}
{{- define "weir.components" -}}
{{- $all := list -}}
{{- range .Values.components -}}
{{- $all = append $all (include "weir.data" (dict "root" $ "file" (printf "files/components/%s.json" .)) | fromJson) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* weir.object: one object, with what the components say of it; values say more. */}}
{{- define "weir.object" -}}
{{- $object := .object -}}{{- $values := .values | default dict -}}
{{- $id := printf "%s/%s" $object.kind $object.metadata.name -}}
{{- $gone := false -}}
{{- range .components -}}
{{- if has $id .remove -}}{{- $gone = true -}}{{- end -}}
{{- range $list, $more := index .lists $id -}}
{{- $holder := $object -}}
{{- if eq $object.kind "Deployment" -}}
{{- $holder = $object.spec.template.spec -}}
{{- if ne $list "volumes" -}}{{- $holder = first $holder.containers -}}{{- end -}}
{{- end -}}
{{- $_ := set $holder $list (concat (index $holder $list) $more) -}}
{{- end -}}
{{- range $field, $to := index .specs $id -}}
{{- if not (hasKey $values $field) -}}{{- $_ := set $object.spec $field $to -}}{{- end -}}
{{- end -}}
{{- range $field, $to := index .pods $id -}}
{{- if not (hasKey $values $field) -}}{{- $_ := set $object.spec.template.spec $field $to -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $gone }}
---
{{ toYaml $object }}
{{ end -}}
{{- end -}}

{{/* weir.check: refuses values that a cluster would take, and that would do harm. */}}
{{- define "weir.check" -}}
{{- $v := .values -}}
{{- $several := gt ($v.replicas | default 1 | int) 1 -}}
{{- if eq .name "source-controller" -}}
{{- $available := has "high-availability" .root.Values.components -}}
{{- if and $several (not $available) -}}
{{- fail "sourceController.replicas: replicas that do not know each other answer 404 for half of the artifacts; add high-availability to components" -}}
{{- end -}}
{{- if not (hasKey $v "replicas") -}}{{- $several = $available -}}{{- end -}}
{{- end -}}
{{- if and $v.claim $several -}}
{{- fail (printf "%s: replicas cannot share the volume of a claim; leave claim out, or run one replica" .name) -}}
{{- end -}}
{{- if and $v.claim (eq .name "kustomize-controller") -}}
{{- fail "kustomizeController.claim: it has no /data, and what is in its /tmp may go away at any time" -}}
{{- end -}}
{{- end -}}

{{/* weir.deployment: changes a Deployment as the values of its controller say. */}}
{{- define "weir.deployment" -}}
{{- $v := .values -}}{{- $root := .root -}}{{- $spec := .object.spec -}}{{- $pod := $spec.template.spec -}}
{{- include "weir.check" (dict "root" $root "name" .object.metadata.name "values" $v) -}}
{{- $container := first $pod.containers -}}
{{- $image := $root.Values.image -}}
{{- $_ := set $container "image" (printf "%s/%s:%s" (trimSuffix "/" $image.registry) .object.metadata.name ($image.tag | default $root.Chart.AppVersion)) -}}
{{- $_ := set $container "imagePullPolicy" $image.pullPolicy -}}
{{- $args := list -}}
{{- range $container.args -}}
{{- if hasPrefix "--events-addr=" . -}}
{{- if $root.Values.eventsAddr -}}{{- $args = append $args (printf "--events-addr=%s" $root.Values.eventsAddr) -}}
{{- else if $root.Values.notificationController.enabled -}}{{- $args = append $args . -}}
{{- else -}}{{- $args = append $args "--events-addr=" -}}{{- end -}}
{{- else if hasPrefix "--log-level=" . -}}{{- $args = append $args (printf "--log-level=%s" $root.Values.logLevel) -}}
{{- else if hasPrefix "--watch-all-namespaces=" . -}}{{- $args = append $args (printf "--watch-all-namespaces=%t" $root.Values.watchAllNamespaces) -}}
{{- else -}}{{- $args = append $args . -}}{{- end -}}
{{- end -}}
{{- $_ := set $container "args" (concat $args ($v.args | default list)) -}}
{{- with $v.env -}}{{- $_ := set $container "env" (concat $container.env .) -}}{{- end -}}
{{- with $v.resources -}}{{- $_ := set $container "resources" . -}}{{- end -}}
{{- if hasKey $v "replicas" -}}{{- $_ := set $spec "replicas" ($v.replicas | int) -}}{{- end -}}
{{- with $v.claim -}}
{{- $claim := . -}}{{- $volumes := list -}}
{{- range $pod.volumes -}}
{{- if eq .name "data" -}}{{- $volumes = append $volumes (dict "name" "data" "persistentVolumeClaim" (dict "claimName" $claim)) -}}
{{- else -}}{{- $volumes = append $volumes . -}}{{- end -}}
{{- end -}}
{{- $_ := set $pod "volumes" $volumes -}}
{{- $_ := set $spec "strategy" (dict "type" "Recreate") -}}{{/* the next pod waits until the volume is free */}}
{{- end -}}
{{- with $root.Values.imagePullSecrets -}}{{- $_ := set $pod "imagePullSecrets" . -}}{{- end -}}
{{- with $v.podAnnotations -}}{{- $_ := set $spec.template.metadata "annotations" (merge (deepCopy .) $spec.template.metadata.annotations) -}}{{- end -}}
{{- with $v.podLabels -}}{{- $_ := set $spec.template.metadata "labels" (merge (deepCopy $spec.template.metadata.labels) .) -}}{{- end -}}
{{- with $v.nodeSelector -}}{{- $_ := set $pod "nodeSelector" (merge (deepCopy .) $pod.nodeSelector) -}}{{- end -}}
{{- with $v.tolerations -}}{{- $_ := set $pod "tolerations" . -}}{{- end -}}
{{- with $v.topologySpreadConstraints -}}{{- $_ := set $pod "topologySpreadConstraints" . -}}{{- end -}}
{{- with $v.affinity -}}{{- $_ := set $pod "affinity" . -}}{{- end -}}
{{- with $v.priorityClassName -}}{{- $_ := set $pod "priorityClassName" . -}}{{- end -}}
{{- end -}}
