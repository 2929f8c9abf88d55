// The site is made of the Markdown files of this folder as they are; only the
// sidebar is said here. A page that no group lists fails the build.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

// title is the first heading of a page.
function title(page) {
  const heading = readFileSync(join(root, page + '.md'), 'utf8').match(/^# (.+)$/m)
  if (!heading) throw new Error(`${page}.md has no heading`)
  return heading[1]
}

const items = (pages) => pages.map((page) => ({ text: title(page), link: '/' + page }))
const folder = (name) =>
  readdirSync(join(root, name)).filter((f) => f.endsWith('.md') && f !== 'index.md').sort().map((f) => name + '/' + f.slice(0, -3))

const start = ['getting-started', 'concepts', 'install', 'migrate-from-flux', 'comparison']
const guides = ['repository-structure', 'promotion', 'image-updates', 'webhooks', 'alerts', 'secrets', 'multi-tenancy',
  'several-clusters', 'scale', 'monitoring', 'rollback'].map((name) => 'guides/' + name)
const reference = ['operations', 'troubleshooting', 'security', 'reliability', 'performance', 'architecture', 'contributing']

const listed = new Set([...start, ...guides, ...reference])
for (const page of [...folder('.').map((p) => p.slice(2)), ...folder('guides')]) {
  if (!listed.has(page)) throw new Error(`${page}.md is in no group of .vitepress/config.mjs`)
}

export default defineConfig({
  title: 'Weir',
  description: 'A GitOps toolkit of small controllers',
  outDir: '../dist/docs',
  cacheDir: '../dist/docs-cache',
  srcExclude: ['node_modules/**'],
  cleanUrls: false,
  // Links between pages are checked by the build, and again with their anchors by the tests of e2e/rules.
  ignoreDeadLinks: false,
  // Braces of templates in code are text, and not expressions of the site's generator.
  markdown: {
    config: (md) => {
      const code = md.renderer.rules.code_inline
      md.renderer.rules.code_inline = (...args) => code(...args).replace('<code', '<code v-pre')
    }
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Start', link: '/getting-started' },
      { text: 'Guides', link: '/guides/repository-structure' },
      { text: 'Kinds', link: '/kinds/' },
      { text: 'Operations', link: '/operations' }
    ],
    sidebar: [
      { text: 'Start', items: items(start) },
      { text: 'Guides', items: items(guides) },
      { text: 'Kinds', items: items(['kinds/index', ...folder('kinds')]) },
      { text: 'Reference', items: items(reference) },
      { text: 'Decisions', collapsed: true, items: items(['decisions/index', ...folder('decisions')]) }
    ]
  }
})
