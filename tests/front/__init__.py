"""API Gateway, Lambda, CloudFront and S3 as strict as they are, before programs and emulators that are kinder."""
