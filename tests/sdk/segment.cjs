// Sends one message of each kind with Segment's library for Node: node segment.cjs HOST WRITE_KEY
const { Analytics } = require('@segment/analytics-node')

const [host, writeKey] = process.argv.slice(2)
const analytics = new Analytics({ host, writeKey, maxRetries: 0 })
analytics.on('error', (error) => {
  console.error(error)
  process.exitCode = 1
})
analytics.identify({ userId: 'u-1', traits: { email: 'jane@example.com', plan: 'pro' } })
analytics.track({ anonymousId: 'a-1', event: 'Order Completed', properties: { revenue: 39.95 } })
analytics.page({ userId: 'u-1', name: 'Install', properties: { url: 'https://example.com/' } })
analytics.screen({ userId: 'u-1', name: 'Home', properties: { build: 7 } })
analytics.group({ userId: 'u-1', groupId: 'g-1', traits: { name: 'Initech' } })
analytics.alias({ userId: 'u-1', previousId: 'a-1' })
analytics.closeAndFlush()
