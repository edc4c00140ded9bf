// Sends one message of each kind with RudderStack's library for Node: node rudderstack.cjs HOST WRITE_KEY
const Analytics = require('@rudderstack/rudder-sdk-node')

const [dataPlaneUrl, writeKey] = process.argv.slice(2)
const analytics = new Analytics(writeKey, { dataPlaneUrl, flushInterval: 10, retryCount: 0 })
analytics.identify({ userId: 'u-1', traits: { email: 'jane@example.com', plan: 'pro' } })
analytics.track({ anonymousId: 'a-1', event: 'Order Completed', properties: { revenue: 39.95 } })
analytics.page({ userId: 'u-1', name: 'Install', properties: { url: 'https://example.com/' } })
analytics.screen({ userId: 'u-1', name: 'Home', properties: { build: 7 } })
analytics.group({ userId: 'u-1', groupId: 'g-1', traits: { name: 'Initech' } })
analytics.alias({ userId: 'u-1', previousId: 'a-1' })
analytics.flush((error) => {
  if (error) {
    console.error(error)
    process.exitCode = 1
  }
})
