package delivery

import (
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/telemetry"
)

// told measures one attempt to send an event, and makes it part of the trace of
// the revision that the event is about. The keys of its metadata have lost their
// group by now.
func told(p *notificationv1beta3.Provider, e *eventv1.Event, begun time.Time, err error) {
	telemetry.Observe(notificationv1beta3.ProviderKind, telemetry.Notify, begun)
	telemetry.Notified(
		telemetry.Object{Kind: e.InvolvedObject.Kind, Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name},
		telemetry.Revision{Name: e.Metadata[eventv1.MetaRevisionKey], Digest: e.Metadata[eventv1.MetaDigestKey]},
		telemetry.Object{Kind: notificationv1beta3.ProviderKind, Namespace: p.Namespace, Name: p.Name},
		p.Spec.Type, begun, err,
	)
}
