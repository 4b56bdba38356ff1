import { describe, expect, it } from 'vitest';
import { attachment } from '../../../src/http/content-disposition.ts';

describe('Content-Disposition', () => {
  it.each([
    ['site.tar', 'attachment; filename="site.tar"'],
    ['my site (1).tar', 'attachment; filename="my site (1).tar"'],
    ["it's;a,b.tar", 'attachment; filename="it\'s;a,b.tar"'],
    ['été.tar', 'attachment; filename="_t_.tar"; filename*=UTF-8\'\'%C3%A9t%C3%A9.tar'],
    ['雪🧊.tar', 'attachment; filename="__.tar"; filename*=UTF-8\'\'%E9%9B%AA%F0%9F%A7%8A.tar'],
    ['say "hi".tar', 'attachment; filename="say _hi_.tar"; filename*=UTF-8\'\'say%20%22hi%22.tar'],
    ['a\\b', 'attachment; filename="a_b"; filename*=UTF-8\'\'a%5Cb'],
    ['100%41.tar', 'attachment; filename="100_41.tar"; filename*=UTF-8\'\'100%2541.tar'],
    ["é'()*!~.tar", "attachment; filename=\"_'()*!~.tar\"; filename*=UTF-8''%C3%A9%27%28%29%2A!~.tar"],
    ['a\r\nX: y', 'attachment; filename="a__X: y"; filename*=UTF-8\'\'a%0D%0AX%3A%20y'],
    ['\ud800.tar', 'attachment; filename="_.tar"; filename*=UTF-8\'\'%EF%BF%BD.tar'],
  ])('of %j', (filename, header) => {
    expect(attachment(filename)).toBe(header);
    expect(new Headers({ 'content-disposition': header }).get('content-disposition')).toBe(header);
  });
});
