"""Push gateways: APNs, FCM and Web Push, as pure encoders of requests, and the service that sends them."""
